"""The parity gate: an export is compared with torch on golden inputs."""
