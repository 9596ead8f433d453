alter system set control_file_record_keep_time={{days}} scope=both;
