"""Parts of detectors: anchors, proposals, sampling, RoIAlign, suppression, calibration at the border."""
