"""The store on PostgreSQL, and the PostgreSQL that certctl brings along."""
