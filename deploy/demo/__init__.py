"""The main job, shown: one certificate's whole life on real servers, on this machine, in a minute.

Run it with `nox -s demo`. Everything listens on the loopback interface and lives in one folder.
"""
