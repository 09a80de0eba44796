"""The ground floor: the words every other room uses. It imports nothing of ours."""
