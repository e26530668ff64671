"""The embedded tile encoder `mini`: a small residual network read out as texture statistics."""
