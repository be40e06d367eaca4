"""`soapgap tune`: settings from the training data alone."""
