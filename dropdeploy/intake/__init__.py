"""From the files in a drop directory to uploads and markers that are ready to be worked on."""
