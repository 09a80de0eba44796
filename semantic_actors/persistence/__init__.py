"""The store: keys and values on disk, verified before use. No tensors here."""
