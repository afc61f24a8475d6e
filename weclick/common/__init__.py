"""What every room uses: errors, files, configuration, schemas, progress, words."""
