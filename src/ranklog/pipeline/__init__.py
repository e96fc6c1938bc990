"""The way from a logging call to the journal: gate, inbox, drain, reducer, and the session that owns them."""
