"""Training: the only room that imports Lightning; one module learns by gradient, one solves in closed form."""
