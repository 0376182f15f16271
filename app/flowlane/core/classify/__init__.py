"""Which class a flow is of: rules, hints and rate gates, and the matches that they share."""
