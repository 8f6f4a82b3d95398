"""`python -m dd_lnl`; the one module without a chapter, since nbdev exports nothing that runs on import."""
from .cli import main

main()
