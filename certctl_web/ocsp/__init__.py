"""The OCSP responder of a process: what it keeps in memory so as to answer thousands of requests a second.

- `register`: how every serial number of an issuer stands, in a few bytes each
- `desk`: signs answers and keeps them, and keeps up with revocations of all processes
- `front`: takes OCSP requests off the HTTP server before anything else looks at them
"""
