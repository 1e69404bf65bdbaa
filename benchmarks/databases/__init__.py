"""What the benchmarks of databases share: clients, reports and rates."""
