"""`soapgap check`: what is wrong with training data."""
