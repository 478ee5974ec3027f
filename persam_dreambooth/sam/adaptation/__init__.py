"""WeSAM: adapt a SAM's image encoder to photos that are foreign to it, from weak labels (docs/wesam.md)."""
