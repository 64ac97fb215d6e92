//! What larder must withstand: bytes that are no request, requests that mean two things, and faults around it.
