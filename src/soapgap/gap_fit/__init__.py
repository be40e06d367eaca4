"""`soapgap gap-fit`: gap_fit's command line, translated into a fit."""
