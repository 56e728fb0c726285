"""Programs that run in an emulator's own Python environment; nothing here imports snn_compile."""
