"""Engines: what scores windows. One interface (`base.Engine`), chosen with a reason (`choose`)."""
