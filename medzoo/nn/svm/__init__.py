"""The support vector machine: fitted by scikit-learn, evaluated as plain tensors."""
