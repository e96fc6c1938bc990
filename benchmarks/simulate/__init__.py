"""Model of a reduction over ranks: costs of messages, layouts of groups, and finishing time of each rank."""
