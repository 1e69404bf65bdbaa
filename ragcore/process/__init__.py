"""What a process shares with others: processors, forks, worker threads and the C library's heap."""
