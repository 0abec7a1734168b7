"""More than one machine: parts scored by actors on Ray (`legscore run --ray`). Imported only where that is
asked for."""
