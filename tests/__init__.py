"""The tests of certctl. Each folder's name says what its tests may touch; see docs/explanation/architecture.md."""
