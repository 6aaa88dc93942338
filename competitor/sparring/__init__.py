"""Training of sparring partners: small policies of many styles, learned with sbx-rl (extra `sparring`)."""
