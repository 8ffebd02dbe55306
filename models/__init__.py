"""How the models that ship with the project are made. Nothing here is part of the installed package."""
