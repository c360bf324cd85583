"""The server: the Open Inference Protocol over HTTP and gRPC, and a route for image files."""
