"""How the embedded models were made: run these scripts again to make better ones."""
