"""What every room uses: errors, files, hashes, ranks, seeds."""
