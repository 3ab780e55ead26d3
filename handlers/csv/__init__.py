"""The csv variant: files of any size, every row processed or rejected. The engine itself knows no AWS."""
