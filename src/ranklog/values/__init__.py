"""Reads whatever users pass in: numbers, arrays, tables and structured values, without communication."""
