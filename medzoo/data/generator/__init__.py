"""Scans synthesised from label maps (Billot et al., Medical Image Analysis 2023): numpy and scipy alone."""
