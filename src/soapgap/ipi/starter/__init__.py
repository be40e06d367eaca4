"""`soapgap ipi-input`: an i-PI input to start from."""
