alter database enable block change tracking using file '{{file}}';
