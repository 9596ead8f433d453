-- Nothing of production may be written by the sandbox: flashback and tracking off, logs and tempfiles renamed.
@if flashback: alter database flashback off;
@if tracking: alter database disable block change tracking;
@each renames: alter database rename file '{{from}}' to '{{to}}';
