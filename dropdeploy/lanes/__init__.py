"""The lanes: one for each app, in which its uploads are looked for and worked off, one after the other."""
