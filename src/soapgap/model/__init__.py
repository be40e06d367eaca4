"""What a model is, and its file."""

from soapgap.model.model import Model
from soapgap.model.terms.embedding import EmbeddingTerm
from soapgap.model.terms.pair import PairTerm
from soapgap.model.terms.soap import Channels, Reduction, SoapTerm
from soapgap.model.terms.term import TERMS, Cost, Term
from soapgap.model.terms.triplet import TripletGrid, TripletTerm
from soapgap.radial.table import RadialTable

__all__ = ["TERMS", "Channels", "Cost", "EmbeddingTerm", "Model", "PairTerm", "RadialTable", "Reduction", "SoapTerm", "Term",
           "TripletGrid", "TripletTerm"]
