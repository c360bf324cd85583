"""The volume viewer of report pages: NiiVue's bundle, which `make viewer` brings from npm and git does not hold."""
