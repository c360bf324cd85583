"""Data: layouts on disk (one file each in layouts/), splits by group, audits, synthetic scans. No torch."""
