"""What ``report.json`` keeps of a network's integers and messages, for its page to show."""
