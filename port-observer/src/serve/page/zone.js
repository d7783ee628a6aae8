// Times are those of whoever looks.

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

