"""The contenders of the loader benchmark, a file for each library."""
