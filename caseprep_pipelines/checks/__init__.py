"""Asset checks: what each product must satisfy, recorded per recording."""
