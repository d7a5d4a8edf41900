"""What a task does to its inputs."""
