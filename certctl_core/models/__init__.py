"""Facts: frozen attrs classes, one file per subject.

Inside certctl a time is an aware UTC `datetime`, a duration a `timedelta`, a certificate an `x509.Certificate`. Facts
that are written more than once carry `revision`, which the store raises on every write (optimistic locking).
"""
