"""The classical algorithms: filters, texture, contours, boundaries, shape; pure functions on numpy arrays.

Stands on its own: knows medzoo.errors and medzoo.types, numpy, scipy and scikit-image, nothing else.
Throughout, an image is (H, W), a mask (H, W) of booleans, and a contour (N, 2) of x (column), y (row) with
pixel centres at whole numbers, closed without repeating its first point.
"""
