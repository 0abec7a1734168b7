"""python -m legscore"""

from legscore.cli import main

main()
