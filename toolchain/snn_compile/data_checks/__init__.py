"""What labels and a few trials tell about data: whether another reading of them is the right one.

``snn_compile.convert.data_findings`` looks at the samples alone; here the network itself is run.
Everything found is a warning, never an error.
"""
