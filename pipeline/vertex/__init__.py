"""The same pipeline on Vertex AI: compiling, submitting, scheduling, checking, rehearsing."""
