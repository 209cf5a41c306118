"""What a run takes on devices that are not there: memory, time and the mesh that suits it."""
